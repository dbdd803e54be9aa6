# The commands of the project. Each sets up what it needs, on a fresh machine too.
#
#   make run              everything, with the demo: prints the URL, a login and a token; Ctrl-C stops it
#   make run DEMO=flights the same with the flights alone; DEMO=none with an empty platform
#   make extra ADD=kafka  adds the packages of an extra, or of several: ADD="kafka saml"; docs/guides/extras.md lists them
#   make test             the tests that cost little, on the embedded services; ARGS="-k promote" passes options to
#                         pytest; it prints its ten slowest tests, and the seed of its order and examples, which
#                         ARGS="--randomly-seed=N" repeats
#   make test-slow        the tests that start processes, sandboxes, trainers or kills, or take half a second, and the
#                         property tests with four times as many examples
#   make e2e              browsers, whole installations, and what depends on a server on real PostgreSQL, Redis and RabbitMQ
#   make chaos            a minute of random kills and stalls under load, and kills while 200 incidents open and end, with
#                         what was counted and delivered; it prints the seed, and
#                         DRIFTLINE_TEST_CHAOS_SEED=N deals the same blows again, and DRIFTLINE_SPOOL_FSYNC=group
#                         tries another durability of the log
#   make attacks          the corpus of attacks, then a minute of all of them by one tenant, and what another one noticed
#   make e2e-frameworks   pushes XGBoost, PyTorch and Keras models from environments of their own (3 GB)
#   make e2e-upstreams    puts a real MLServer and a real TorchServe (Java 17) behind Driftline and kills them
#   make e2e-orchestrators has real Prefect, Airflow, MLflow and Dask train, hold and read, and kills either side (2 GB)
#   make e2e-sso          signs in by real identity providers: OpenID Connect (Node.js 18 or newer), SAML (xmlsec1)
#   make e2e-edge         20 agents on devices behind a proxy that cuts, delays and doubles, killed 50 times, twice
#   make e2e-streams      kills consumers while they read topics of a real broker (JSON, Avro, Protobuf), and what sends to it, streams of NATS and MQTT, objects of an S3 server and tables of
#                         PostgreSQL, MariaDB and emulators of BigQuery and Snowflake, and has a real Spark (Java 17 or newer) and a real Flink (Python 3.12)
#                         summarise a lake (1.3 GB); DRIFTLINE_TEST_STREAM_ROWS=1000000 reads more than 100,000 rows
#   make e2e-image        runs the steps of the Containerfile in a chroot, and the roles of the Helm chart in it (root on
#                         Debian with mmdebstrap; 5 GB)
#   make check            format, lint, templates, types, import contracts, migrations, documentation, deployment checks;
#                         ARGS=templates runs that one alone
#   make sbom             the bill of materials of what is installed, with licences, in build/sbom.cdx.json
#   make audit            the known vulnerabilities of the pinned packages, by a folder of advisories:
#                         ADVISORIES=../advisory-database
#   make bundle           a commit with its packages, installed without a network, in build/driftline-*-bundle.tar;
#                         KEY=~/.ssh/id_ed25519 signs it
#   make docs             the documentation, which `make run` builds once it runs, and serves under /docs/; a warning is
#                         an error
#   make bench            the benchmarks, printed as a table and written to bench-results.json
#   make bench-detection  who notices which drift at the same rate of false alarms, beside NannyML, which it installs apart
#   make bench-peers      the same load on MLServer, LitServe, TorchServe and Triton, which it installs apart

PYTHON := .venv/bin/python
DEMO ?= all
ARGS ?=
PYTEST := $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist worksteal --durations 10
QUICK := not slow and not e2e and not browser
SLOW := (slow or hypothesis) and not e2e and not browser

# Where it is set, each of the dozen processes of an installation, and of the hundreds of a test run, compiles anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := run
.PHONY: run extra test test-slow e2e chaos attacks e2e-frameworks e2e-upstreams e2e-orchestrators e2e-streams e2e-sso e2e-edge e2e-image check sbom audit bundle docs bench bench-detection bench-peers setup setup-dev setup-test format requirements protocol clean

run: setup
	@exec $(PYTHON) manage.py up --documentation $(if $(filter none,$(DEMO)),,--demo $(DEMO))

extra:
	@.ci/setup extra $(ADD)

test: setup-test
	@exec $(PYTEST) -m "$(QUICK)" --hypothesis-profile quick $(ARGS)

test-slow: setup-test
	@exec $(PYTEST) -m "$(SLOW)" $(ARGS)

e2e: setup-dev
	@exec .ci/e2e $(ARGS)

chaos: setup-dev
	@DRIFTLINE_TEST_CHAOS_SECONDS=60 DRIFTLINE_TEST_OUTAGE_SECONDS=30 exec $(PYTHON) -m pytest -n 0 \
		tests/flows/installation/test_chaos.py tests/flows/installation/test_kills.py \
		tests/flows/installation/test_notifications.py $(ARGS)

attacks: setup-dev
	@$(PYTHON) -m pytest -n 0 tests/attacks $(ARGS)
	@exec $(PYTHON) -m tests.attacks.storm

e2e-frameworks: setup-dev
	@exec .ci/frameworks $(ARGS)

e2e-upstreams: setup-dev
	@exec $(PYTHON) -m pytest -n 0 -m upstreams tests/upstreams $(ARGS)

e2e-orchestrators: setup-dev
	@exec $(PYTHON) -m pytest -n 0 -m orchestrators tests/orchestrators $(ARGS)

e2e-streams: setup-dev
	@exec $(PYTHON) -m pytest -n 0 -m streams tests/streams $(ARGS)

e2e-sso: setup-dev
	@exec $(PYTHON) -m pytest -n 0 -m sso tests/sso $(ARGS)

e2e-edge: setup-dev
	@DRIFTLINE_TEST_AGENTS=$${DRIFTLINE_TEST_AGENTS:-20} DRIFTLINE_TEST_AGENT_KILLS=$${DRIFTLINE_TEST_AGENT_KILLS:-50} \
		exec $(PYTHON) -m pytest -n 0 -s tests/driftline_agent/test_fleet.py $(ARGS)

e2e-image: setup-dev
	@exec $(PYTHON) -m pytest -n 0 -m image tests/deploy $(ARGS)

check: setup-dev
	@exec .ci/check $(ARGS)

sbom: setup
	@exec .ci/sbom $(ARGS)

audit: setup
	@exec $(PYTHON) .ci/advisories.py $(or $(ADVISORIES),$(error Name a folder of advisories: make audit ADVISORIES=../advisory-database))

bundle: setup
	@exec .ci/bundle $(KEY)

docs: setup
	@exec .ci/docs

bench: setup-dev
	@exec $(PYTHON) -m tests.performance $(ARGS)

bench-detection: setup-dev
	@exec $(PYTHON) -W ignore -m tests.performance.detection $(ARGS)

bench-peers: setup-dev
	@exec $(PYTHON) -m tests.performance --peers $(ARGS)

setup:
	@.ci/setup run

setup-dev:
	@.ci/setup dev

setup-test:
	@.ci/setup test

format: setup-dev
	@.venv/bin/ruff format .
	@.venv/bin/djangofmt templates monitors
	@.venv/bin/ruff check --fix .

# Pins the dependencies anew after a change in pyproject.toml; ARGS=--upgrade takes the newest releases.
requirements: setup-dev
	@.ci/compile $(ARGS)

# Writes the Python of the gRPC protocols anew after a change in their .proto files.
protocol: setup-dev
	@.ci/protocol

# Removes the environment and the caches; the state in var/ stays.
clean:
	rm -rf .venv .venv-clients .venv-clients.lock .venv-docs .venv-sbom .venv-sbom.lock build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		bench-results.json bench-detection.json .bench-peers
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
