"""Import every module of tickbay, while the image is built: Python then keeps the byte code of all that is used."""

import importlib
import pkgutil

import tickbay

for module in pkgutil.walk_packages(tickbay.__path__, "tickbay."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
