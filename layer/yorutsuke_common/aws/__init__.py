"""The stores: DynamoDB tables, the images bucket, and the chunked and concurrent calls to them."""
