"""The two cffi extensions; everything else about the package is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["usbbtd/abi/build.py:layout", "usbbtd/abi/build.py:xen"])
