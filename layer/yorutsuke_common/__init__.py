"""The library that every Yorutsuke function imports from its Lambda layer.

Modules at this level are pure or configure a function. `records` turns output lines into transactions or dead letters
and is pure. `aws` holds the stores: tables, bucket, and concurrent calls.
"""
