"""SD-02 Design: URL Shortener; simple, scalable system."""
