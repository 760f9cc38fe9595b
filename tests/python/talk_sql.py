"""Talks with `bailiwick sql` over a pseudo-terminal, as a person would.

    talk_sql.py BINARY URL TOKEN STATE_DIR

Prints one JSON document: what was seen at each step. Nothing here is timed; a
step that never comes ends the script after PATIENCE.
"""

import json
import os
import pty
import re
import select
import signal
import sys
import time

PATIENCE = 90
# A new one: the same line drawn again has no line break before it.
PROMPT = r"\n[^\n]*bailiwick=> "
binary, url, token, state = sys.argv[1:]


class Talk:
    def __init__(self):
        self.seen = ""
        self.read_to = 0
        pid, self.fd = pty.fork()
        if pid == 0:
            env = {"PATH": os.environ["PATH"], "TERM": "xterm", "XDG_STATE_HOME": state, "HOME": state,
                   "BAILIWICK_URL": url, "BAILIWICK_TOKEN": token, "COLUMNS": "200"}
            os.execve(binary, [binary, "sql"], env)
        self.pid = pid
        import fcntl, struct, termios
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))

    def more(self):
        ready, _, _ = select.select([self.fd], [], [], 0.2)
        if ready:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.seen += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def until(self, pattern):
        """Everything from the last step to where the pattern ends."""
        began = time.monotonic()
        while True:
            found = re.compile(pattern).search(self.seen, self.read_to)
            if found:
                text = self.seen[self.read_to:found.end()]
                self.read_to = found.end()
                return text
            if not self.more() or time.monotonic() - began > PATIENCE:
                sys.exit(f"never saw {pattern!r} in {self.seen[self.read_to:]!r}")

    def send(self, text):
        os.write(self.fd, text.encode())

    def line(self, text, pattern):
        """Sends a line; what is seen from there to the pattern and the next prompt."""
        self.send(text + "\r")
        return self.until(pattern) + self.until(PROMPT)

    def end(self, keys):
        """Sends keys until it has ended; between two lines the terminal may swallow them."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            try:
                os.write(self.fd, keys.encode())
            except OSError:
                pass
            for _ in range(10):
                self.more()
                done, status = os.waitpid(self.pid, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        sys.exit(f"does not end: {self.seen[self.read_to:]!r}")


report = {}
talk = Talk()
talk.until(PROMPT)
report["several_lines"] = talk.line("SELECT 1 AS one,\r  ';' AS two\r;", r"\(1 row\)")
report["hostile"] = talk.line("SELECT chr(27) || '[2Jx' AS evil;", r"\(1 row\)")
report["wrong"] = talk.line("SELECT nope FROM alerts;", r"\[\w+\]")
report["describe"] = talk.line("\\d losses", r"rows\)")
report["relations"] = talk.line("\\dt", r"rows\)")
report["functions"] = talk.line("\\df", r"rows\)")
report["expanded"] = talk.line("\\x", "column is a line") + talk.line("SELECT 5 AS five;", r"\(1 row\)")
report["table"] = talk.line("\\x off", "row is a line")
report["timing"] = talk.line("\\timing", "times are told") + talk.line("SELECT 2;", r"time: [\d.]+ m?s")
talk.line("\\timing off", "not told")
report["csv"] = talk.line("\\pset format csv", "") + talk.line("SELECT 'a,b' AS c;", '"a,b"')
report["json"] = talk.line("\\f ndjson", "") + talk.line("SELECT 7 AS n;", r'\{"n":7\}')
talk.line("\\f table", "")
report["unknown"] = talk.line("\\nonsense", r"no command")

# Completion: one candidate is put in, a space ends the word.
talk.send("SELECT count(*) FROM netw\t")
report["completed"] = talk.until("network_flows")
report["completed"] += talk.line(";", r"\(1 row\)")

# A slow statement shows how far it is, and Ctrl-C ends it.
talk.send("SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0;\r")
report["progress"] = talk.until("Ctrl-C ends it")
talk.send("\x03")
report["cancelled"] = talk.until("ended by Ctrl-C") + talk.until(PROMPT)

# \watch until Ctrl-C, with the statement before it.
talk.send("SELECT 42 AS answer \\watch 0.1\r")
report["watched"] = talk.until("42") + talk.until("42") + talk.until("42")
talk.send("\x03")
talk.until(PROMPT)

# What is typed and dropped, then the history.
talk.send("SELECT drop")
talk.send("\x03")
talk.until(PROMPT)
talk.send("\x1b[A\x1b[A")
report["recalled"] = talk.until("netw|answer")
talk.send("\x03")
talk.until(PROMPT)
report["exit"] = talk.end("\\q\r")
history = os.path.join(state, "bailiwick", "sql_history")
report["history"] = open(history).read()
report["history_mode"] = os.stat(history).st_mode & 0o777

# Ctrl-D ends it, and another time the history is there.
again = Talk()
again.until(PROMPT)
again.send("\x1b[A")
again.until("watch|q")
again.send("\x03")
again.until(PROMPT)
report["second_exit"] = again.end("\x04")
print(json.dumps(report))
