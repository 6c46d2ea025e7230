"""A page of another origin, opened in the operator's browser, against the stack as it is set up: it starts nothing."""

import asyncio
import base64
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessJobConfiguration

from flows.deploy import PROCESS_TEMPLATE, RUN_ENVIRONMENT
from tests.flows.prefect_run import ask

# Everything that a page can try without a preflight, and the rest as well. It even knows the deployment's id.
ATTACK = """
async ([api, deployment, headers]) => {
  const body = JSON.stringify({job_variables: {command: "touch /tmp/taken-over"}});
  const create = `${api}/deployments/${deployment}/create_flow_run`;
  const json = {"Content-Type": "application/json", ...headers};
  const outcome = async (attempt) => {
    try { const r = await attempt(); return r.status ?? r } catch (e) { return "blocked" }
  };
  const socket = (path, protocols) => new Promise((done) => {
    const s = new WebSocket(api.replace("http", "ws") + path, protocols);
    s.onopen = () => { s.send(JSON.stringify({type: "auth", token: "persona:guess"})); };
    s.onmessage = (m) => done(m.data);
    s.onclose = () => done("blocked");
  });
  const form = () => {
    const f = document.createElement("form");
    Object.assign(f, {action: create, method: "POST", enctype: "text/plain", target: "frame"});
    const frame = document.createElement("iframe"); frame.name = "frame"; document.body.append(frame);
    const i = document.createElement("input"); i.name = '{"x": "'; i.value = '"}'; f.append(i); document.body.append(f);
    return new Promise((done) => { frame.onload = () => done("sent"); f.submit(); });
  };
  return {
    json: await outcome(() => fetch(create, {method: "POST", body: "{}", headers: json})),
    with_command: await outcome(() => fetch(create, {method: "POST", body, headers: json})),
    cookies: await outcome(() => fetch(create, {method: "POST", body: "{}", headers: json, credentials: "include"})),
    simple: await outcome(() => fetch(create, {method: "POST", body: "{}", mode: "no-cors"})),
    blob: await outcome(() => fetch(create, {method: "POST", body: new Blob(["{}"]), mode: "no-cors"})),
    read: await outcome(() => fetch(`${api}/deployments/filter`, {method: "POST", body: "{}", headers: json})),
    form: await outcome(form),
    events: await socket("/events/in"),
    events_prefect: await socket("/events/in", ["prefect"]),
  };
}
"""


@pytest.fixture(scope="module")
def foreign_site():
    """Address of a page that is nobody's business; `localhost`, so that even the host name is another."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<body>nice pictures")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def deployment(prefect_server):
    """Id of a deployment in a work pool as `make deploy` makes them."""
    pools = {pool["name"] for pool in ask(prefect_server, "work_pools/filter", {})}
    if "guarded" not in pools:
        pool = {"name": "guarded", "type": "process", "base_job_template": PROCESS_TEMPLATE}
        ask(prefect_server, "work_pools/", pool)
    flow = ask(prefect_server, "flows/", {"name": "curate"})["id"]
    wanted = {"name": "guarded", "flow_id": flow, "work_pool_name": "guarded", "entrypoint": "flows/curate.py:curate"}
    return ask(prefect_server, "deployments/", wanted)["id"]


def runs_of(prefect_server, deployment):
    return ask(prefect_server, "flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})


def test_a_foreign_page_starts_nothing_and_reads_nothing(prefect_server, deployment, foreign_site, chromium):
    api = prefect_server["PREFECT_API_URL"]
    password = base64.b64encode(prefect_server["PREFECT_API_AUTH_STRING"].encode()).decode()
    context = chromium.new_context()
    own = context.new_page()  # the operator is logged in, in the same browser
    own.goto(api.removesuffix("/api"))
    own.evaluate(f"localStorage.setItem('prefect-password', '{password}')")

    page = context.new_page()
    page.goto(foreign_site)
    seen = page.evaluate(ATTACK, [api, deployment, {}])
    assert seen.pop("simple") == seen.pop("blob") == 0  # sent, answered with 401, and the page does not learn even that
    assert seen.pop("form") == "sent"
    assert set(seen.values()) == {"blocked"}, seen
    # Under a name of its own that leads here (DNS rebinding) a page shares the origin, and lacks the password still.
    page.goto(api.removesuffix("/api").replace("127.0.0.1", "localhost"))
    seen = page.evaluate(ATTACK, [api.replace("127.0.0.1", "localhost"), deployment, {}])
    assert {seen[attempt] for attempt in ("json", "with_command", "cookies", "read")} == {401}
    assert seen["events"] == seen["events_prefect"] == "blocked"
    assert runs_of(prefect_server, deployment) == []

    # The same attempts by the server's own page with the password: so they are no blanks. A command is refused even so.
    seen = own.evaluate(ATTACK, [api, deployment, {"Authorization": f"Basic {password}"}])
    assert (seen["json"], seen["read"], seen["with_command"]) == (201, 200, 422)
    assert runs_of(prefect_server, deployment)
    context.close()


def test_a_run_chooses_neither_its_command_nor_its_environment(prefect_server):
    """Prefect checks what a run asks for on one of two ways only; on the other the template has to hold."""
    environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    wishes = {
        "command": "touch /tmp/x",
        "env": {"LD_PRELOAD": "/tmp/x.so"},
        "env.PYTHONPATH": "/tmp",
        "working_dir": "/",
    }
    wishes[f"prefect.variables.{RUN_ENVIRONMENT}"] = {"LD_PRELOAD": "/tmp/x.so"}

    async def configuration():
        async with get_client() as client:
            if await client.read_variable_by_name(RUN_ENVIRONMENT) is None:
                await client._client.post("/variables/", json={"name": RUN_ENVIRONMENT, "value": environment})
            return await ProcessJobConfiguration.from_template_and_values(PROCESS_TEMPLATE, wishes, client=client)

    settings = {PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}
    settings[PREFECT_API_AUTH_STRING] = prefect_server["PREFECT_API_AUTH_STRING"]
    with temporary_settings(settings), ThreadPoolExecutor() as beside:  # Chromium's event loop runs in this thread
        found = beside.submit(copy_context().run, asyncio.run, configuration()).result()
    assert (found.command, found.env, found.working_dir) == (None, environment, None)
