"""Runs one coroutine function of a test file, in a process of a simulated domain: see conftest.py.

python run_in_domain.py FILE FUNCTION ARGUMENTS, the last as a JSON list. Prints what the function returns, as JSON.
"""

import asyncio
import importlib.util
import json
import sys

if __name__ == "__main__":
    _, path, name, arguments = sys.argv
    specification = importlib.util.spec_from_file_location("in_domain", path)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.stdout.write(json.dumps(asyncio.run(getattr(module, name)(*json.loads(arguments)))))
