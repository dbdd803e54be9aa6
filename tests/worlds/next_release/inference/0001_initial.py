from importlib import import_module

Migration = import_module("inference.migrations.0001_initial").Migration
