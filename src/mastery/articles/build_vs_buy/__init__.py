"""27 Build vs Buy Decisions: control against speed."""
