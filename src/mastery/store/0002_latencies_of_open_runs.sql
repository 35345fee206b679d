-- The latencies of each trial while its run is open: a run that is killed is judged with them. A document holds them pooled.

ALTER TABLE trials ADD COLUMN histogram BLOB;
