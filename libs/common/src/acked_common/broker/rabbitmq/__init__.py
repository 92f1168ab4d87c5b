"""The broker port on RabbitMQ."""
