"""The scripted HTTP server itself, where the suites that use it would not notice."""

import http.client

from tests.support.http_server import ScriptedServer, answer, in_thread


def test_server_in_a_thread_serves_a_program_that_blocks() -> None:
    with in_thread(ScriptedServer(answer(500), answer(200, b"fine"))) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        statuses = []
        for body in (b"first", b"second", b"third"):
            client.request("POST", "/hook?a=1", body, {"Webhook-Id": "evt_1"})
            response = client.getresponse()
            statuses.append((response.status, response.read()))
        client.close()

    assert statuses == [(500, b"OK"), (200, b"fine"), (200, b"fine")]
    assert [request.body for request in server.requests] == [b"first", b"second", b"third"]
    assert [request.nth_on_connection for request in server.requests] == [1, 2, 3]
    first = server.requests[0]
    assert (first.method, first.target, first.version) == ("POST", "/hook?a=1", "HTTP/1.1")
    assert first.header("webhook-id") == "evt_1"
    assert first.raw_head.startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert len(server.connections) == 1
