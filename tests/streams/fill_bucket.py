"""Makes a bucket of the files of a folder and a user who may read it, or do what else is named, and has the server
check signatures from then on.

It runs in the environment of the server; it prints the user's key and secret.
"""

import json
import sys
from pathlib import Path

import boto3
import requests

url, bucket, folder, *actions = sys.argv[1:]
options = {
    "endpoint_url": url,
    "region_name": "us-east-1",
    "aws_access_key_id": "x",
    "aws_secret_access_key": "x",
}
store, users = boto3.client("s3", **options), boto3.client("iam", **options)
store.create_bucket(Bucket=bucket)
for path in sorted(Path(folder).rglob("*")):
    if path.is_file():
        store.upload_file(str(path), bucket, str(path.relative_to(folder)))
users.create_user(UserName="driftline")
policy = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", *actions], "Resource": "*"}
    ],
}
users.put_user_policy(UserName="driftline", PolicyName="read", PolicyDocument=json.dumps(policy))
key = users.create_access_key(UserName="driftline")["AccessKey"]
requests.post(f"{url}/moto-api/reset-auth", data=b"0", timeout=30).raise_for_status()
print(key["AccessKeyId"], key["SecretAccessKey"])
