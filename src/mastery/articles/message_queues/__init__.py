"""23 Message Queues (Kafka vs RabbitMQ): throughput against latency."""
