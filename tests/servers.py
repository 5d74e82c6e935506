"""A web server of the tests' own, that answers as it is told."""

import http.server
import threading

BODY = bytes(range(256)) * 9000


class Server:
    """Answers every GET with the next of ``replies`` (status, body, length to claim or None), the last one for ever."""

    def __init__(self):
        self.replies = [(200, BODY, len(BODY))]
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                status, body, length = outer.replies[min(len(outer.requests), len(outer.replies)) - 1]
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def left_behind(folder):
    """All files below a folder."""
    return [path for path in folder.rglob("*") if not path.is_dir()]
