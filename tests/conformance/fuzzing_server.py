"""Autobahn's fuzzing server on a free port of 127.0.0.1; run by Python 2.7, so without annotations.

The suite's own command takes a fixed port and does not say when it listens. This one writes the
port as its last line before it serves, at which time connections are already accepted.

Usage: python2.7 -u fuzzing_server.py SPECIFICATION.json
"""

import json
import sys

from autobahntestsuite.fuzzing import FuzzingServerFactory  # type: ignore[import-not-found]  # 2.7 only
from twisted.internet import reactor  # type: ignore[import-not-found]  # 2.7 only

with open(sys.argv[1]) as specification:
    factory = FuzzingServerFactory(json.load(specification))
port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
sys.stdout.write("listening on %d\n" % port)  # noqa: UP031  # f-strings came with 3.6
reactor.run()
