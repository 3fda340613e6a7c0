"""What the metadata store holds, one module per noun: SQL on a connection that is in a transaction."""
