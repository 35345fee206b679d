"""02 Memory Management: virtual against physical, swap against OOM."""
