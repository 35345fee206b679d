"""08 Database Indexes Deep Dive: read speed against write speed."""
