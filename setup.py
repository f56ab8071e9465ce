"""All metadata and tool settings stand in setup.cfg."""

from setuptools import setup

setup()
