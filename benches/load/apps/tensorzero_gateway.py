"""Run TensorZero's gateway and a Redis, in TensorZero's own environment.

python tensorzero_gateway.py CONFIG PORT-FILE REDIS-PORT

The gateway of the wheel chooses its port itself; this program writes the number into PORT-FILE.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero import tensorzero  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    """Start both, and run until SIGTERM."""
    config, port_file, redis_port = sys.argv[1:]
    redis = subprocess.Popen(
        ["redis-server", "--port", redis_port, "--save", "", "--appendonly", "no"]
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        time.sleep(0.5)
        gateway = tensorzero._start_http_gateway(
            config_file=config,
            clickhouse_url=None,
            postgres_url=None,
            valkey_url=f"redis://127.0.0.1:{redis_port}",
            async_setup=False,
        )
        Path(port_file).write_text(str(urlsplit(gateway.base_url).port), "ascii")
        while True:
            time.sleep(60)
    finally:
        redis.terminate()
        redis.wait()


main()
