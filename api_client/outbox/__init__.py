"""The client's durable queue: accepting, packing into messages, sending, confirming."""
