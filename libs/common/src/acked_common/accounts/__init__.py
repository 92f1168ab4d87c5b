"""The accounts that services have on MongoDB and RabbitMQ, and how each gets its secrets, in containers."""
