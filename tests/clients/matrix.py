"""What the Python clients share: cells in one plain form, checks by name, one report.

A cell becomes null, a text, or a list of cells, so that every client's answer
can be compared with every other's. A check is a function whose failure is
reported under its name and does not end the others.
"""

import asyncio
import datetime
import decimal
import inspect
import json
import sys
import traceback


def plain(value):
    """A cell in the form that is compared."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, datetime.datetime):
        # Clients show a time in a zone of their own choice.
        zoned = value.tzinfo is not None
        text = (value.astimezone(datetime.timezone.utc) if zoned else value).replace(tzinfo=None).isoformat()
        return text + ("Z" if zoned else "")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (list, tuple)) or hasattr(value, "items"):
        values = value.values() if hasattr(value, "items") else value
        return [plain(item) for item in values]
    return str(value)


class Report:
    """Runs checks and tells how each went."""

    def __init__(self):
        self.cases = {}
        self.checks = {}

    def check(self, function):
        """Runs one function, named after itself."""
        name = function.__name__
        try:
            result = function()
            if inspect.isawaitable(result):
                asyncio.get_event_loop().run_until_complete(result)
            self.checks[name] = "ok"
        except BaseException:
            self.checks[name] = traceback.format_exc()[-1500:]
        return function

    async def acheck(self, function, *arguments):
        """The same inside of a loop."""
        name = function.__name__
        try:
            await asyncio.wait_for(function(*arguments), 120)
            self.checks[name] = "ok"
        except BaseException:
            self.checks[name] = traceback.format_exc()[-1500:]

    def answer(self, case, rows):
        """Keeps the rows of one of the common statements."""
        self.cases[case] = [[plain(cell) for cell in row] for row in rows]

    def tell(self):
        json.dump({"cases": self.cases, "checks": self.checks}, sys.stdout)


def statements():
    """The common statements by name."""
    with open(sys.argv[1]) as file:
        return json.load(file)


def raises(function, sqlstate, *errors):
    """The call must fail with this code."""
    try:
        function()
    except errors or Exception as error:
        found = getattr(error, "sqlstate", None) or getattr(getattr(error, "orig", None), "sqlstate", None)
        assert found == sqlstate, f"{found} in place of {sqlstate}: {error}"
        return error
    raise AssertionError(f"nothing failed; {sqlstate} was expected")
