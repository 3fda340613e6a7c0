"""What an OTLP server owes its clients, as tables; each row is run by independent clients over real sockets."""
