"""RabbitMQ: topology, consuming, decoding, publishing. The only room that knows aio-pika."""
