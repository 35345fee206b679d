"""SD-04 Design: Real-Time Chat; WebSockets, ordering, fan-out."""
