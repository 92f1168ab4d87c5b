"""The services' accounts on MongoDB and RabbitMQ, and the distribution of secrets to containers."""
