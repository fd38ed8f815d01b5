"""The actions that S3 authorizes when an image with tags is copied, and the prefixes of their objects.

CopyObject copies the tags by default. MiniStack copies them as well, but it authorizes only the first action of each
prefix. moto does not authorize the tags either.

Sources: Amazon S3 API reference, CopyObject (`x-amz-tagging-directive`); AWS re:Post Knowledge Center, "Why can't I
copy an object between two Amazon S3 buckets?".
"""

COPY_ACTIONS = (
    ("s3:GetObject", "uploads/"),
    ("s3:GetObjectTagging", "uploads/"),
    ("s3:PutObject", "processed/"),
    ("s3:PutObjectTagging", "processed/"),
)
