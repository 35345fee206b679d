"""What an article is: found by its folder, read without being imported."""
