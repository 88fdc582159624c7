"""Storages in an S3 bucket: one object a file, moved by boto3."""
