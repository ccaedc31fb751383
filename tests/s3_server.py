"""An S3 server in this process (moto's), with a bucket of phantoms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_bucket(name: str) -> Iterator[object]:
    """Start a server, set this process up for it, and yield boto3's client; skip if not installed.

    Worker processes that start later inherit the settings.
    """
    for package in ("moto", "flask_cors", "s3fs"):
        pytest.importorskip(package, reason="needs the extra s3, moto, flask and flask-cors")
    import boto3
    from moto.server import ThreadedMotoServer

    from cxredge.data import remote

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**SETTINGS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(key, value)
        remote._opened.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket=name)
        try:
            yield client
        finally:
            remote._opened.cache_clear()
            server.stop()
