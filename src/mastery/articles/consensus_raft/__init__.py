"""15 Consensus & Raft: availability against strong consistency."""
