"""The smallest W&B server, for tests of real online runs: GraphQL and uploads on 127.0.0.1.

It answers what wandb 0.31 asks in ``wandb.init(mode="online")``, log, images, tables, resume,
``wandb sync``, save and load of workspaces and reports, and keeps in memory what arrives:
``runs[name]`` with config, rows, summary and files, ``views[id]`` as they were saved.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

ENTITY = "loop"
FAKE_KEY = "0123456789abcdef0123456789abcdef01234567"


class Run:
    """What arrived of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.lines: dict[str, dict[int, str]] = {}  # file -> offset -> line
        self.files: dict[str, bytes] = {}
        self.exit_code: int | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        lines = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(lines[k]) for k in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}


def run_node(run: Run) -> dict[str, Any]:
    """The fields that the public API asks of a run."""
    texts = ("sweepName", "group", "jobType", "commit", "createdAt", "heartbeatAt", "description")
    return {
        **dict.fromkeys(texts),
        "projectId": "1",
        "id": run.name,
        "name": run.name,
        "displayName": run.fields.get("displayName", run.name),
        "tags": [],
        "state": "finished",
        "readOnly": False,
        "notes": "",
        "historyLineCount": len(run.rows),
        "user": {"name": ENTITY, "username": ENTITY},
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
    }


class LoopbackServer:
    """Serves at ``url`` inside its ``with`` block, or until ``stop()``."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count()  # of views, never twice
        self.artifacts: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.uploads: dict[str, bytes] = {}
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._connections: list[Any] = []
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Die: close the listening socket and every open connection."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()
        for connection in self._connections:
            try:
                connection.shutdown(2)
                connection.close()
            except OSError:
                pass

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one operation; an unknown one gets a GraphQL error, as on a real server."""
        name = query.split("(")[0].split("{")[0].split()[-1] if query.strip() else ""
        self.operations.append(name)
        answer = getattr(self, "answer_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), None)
        if answer is None:
            return {"errors": [{"message": f"unknown operation {name}"}]}
        return {"data": answer(variables)}

    def _run(self, name: str) -> Run:
        return self.runs.setdefault(name, Run(name))

    def answer_viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "viewer": {
                "id": "u",
                "entity": ENTITY,
                "username": ENTITY,
                "email": "",
                "flags": "{}",
                "teams": {"edges": [{"node": {"name": ENTITY}}]},
            }
        }

    answer_get_viewer = answer_viewer

    def answer_server_features_query(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def answer_get_default_entity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "entity": ENTITY}}

    def answer_upsert_bucket(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self._run(v["name"])
        inserted = not run.fields
        run.fields.update({key: value for key, value in v.items() if value is not None})
        run.config.update(json.loads(v.get("config") or "{}"))
        project = v.get("project") or "uncategorized"
        bucket = {
            "id": b64encode(f"Run:v1:{run.name}:{project}:{ENTITY}".encode()).decode(),
            "name": run.name,
            "displayName": run.fields.get("displayName", run.name),
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": None,
            "historyLineCount": len(run.rows),
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": ENTITY}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def answer_run_resume_status(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        if run is None:
            return {"model": None}
        bucket = {
            "id": "r",
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.name,
            "logLineCount": len(run.lines.get("output.log", {})),
            "historyLineCount": len(run.rows),
            "eventsLineCount": len(run.lines.get("wandb-events.jsonl", {})),
            "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": {"1": 1}}),
        }
        return {
            "model": {
                "id": "p",
                "name": v["project"],
                "entity": {"id": "e", "name": ENTITY},
                "bucket": bucket,
            }
        }

    def answer_runs(self, v: dict[str, Any]) -> dict[str, Any]:
        """Runs by name, or all of a project, as the public API lists them."""
        wanted = json.loads(v.get("filters") or "{}").get("name")
        found = [
            run
            for name, run in self.runs.items()
            if (name in wanted["$in"] if wanted else run.fields.get("project") == v["project"])
        ]
        edges = [{"node": run_node(run), "cursor": run.name} for run in found]
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        project = {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}
        return {"project": project}

    def answer_create_run_files(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{v['run']}/{name}"}
            for name in v["files"]
        ]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def answer_artifact_type(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def answer_create_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts.append({"input": v.get("input", v), "committed": False, "files": []})
        number = str(len(self.artifacts) - 1)
        artifact = {
            "id": number,
            "state": "PENDING",
            "artifactSequence": {"id": "s", "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def answer_create_artifact_manifest(self, v: dict[str, Any]) -> dict[str, Any]:
        name = f"manifest-{v['artifactID']}"
        upload = {
            "id": "f",
            "name": name,
            "displayName": name,
            "uploadUrl": f"{self.url}/upload/{name}",
            "uploadHeaders": [],
        }
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": upload}}}

    def answer_create_artifact_files(self, v: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in v["input"]["artifactFiles"]:
            number = int(spec["artifactID"])
            self.artifacts[number]["files"].append(spec["name"])
            node = {
                "id": "f",
                "name": spec["name"],
                "displayName": spec["name"],
                "uploadUrl": f"{self.url}/upload/artifact-{number}/{spec['name']}",
                "uploadHeaders": [],
                "storagePath": spec["name"],
                "artifact": {"id": str(number)},
                "uploadMultipartUrls": None,
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def answer_commit_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[int(v["artifactID"])]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": "d"}}}

    def answer_upsert_view2(self, v: dict[str, Any]) -> dict[str, Any]:
        """Save a view: a new one without ``id``, else in place of that one, which must be there."""
        identity = v.get("id") or b64encode(f"View:{next(self._numbers)}".encode()).decode()
        if v.get("id") and identity not in self.views:
            return {"upsertView": None}
        inserted = identity not in self.views
        self.views[identity] = {**v, "id": identity}
        return {"upsertView": {"view": self._view(identity), "inserted": inserted}}

    answer_upsert_view = answer_upsert_view2

    def answer_view(self, v: dict[str, Any]) -> dict[str, Any]:
        found = [i for i, view in self.views.items() if view["name"] == v["viewName"]]
        nodes = [{"node": self._view(identity)} for identity in found]
        return {"project": {"allViews": {"edges": nodes}}}

    def answer_specific_report(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"view": self._view(v["reportId"]) if v["reportId"] in self.views else None}

    def _view(self, identity: str) -> dict[str, Any]:
        view = self.views[identity]
        keys = ("id", "type", "name", "displayName", "description", "spec")
        project = {"id": "p", "name": view["projectName"], "entityName": view["entityName"]}
        now = "2026-01-01T00:00:00Z"
        known = {key: view.get(key) for key in keys}
        return {**known, "project": project, "createdAt": now, "updatedAt": now}

    def _projects(self) -> list[str]:
        return sorted({run.fields.get("project") or "uncategorized" for run in self.runs.values()})

    def answer_project_internal_id(self, v: dict[str, Any]) -> dict[str, Any]:
        there = v["projectName"] in self._projects()
        return {"project": {"id": "p", "internalId": "cA=="} if there else None}

    def answer_get_projects(self, v: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "__typename": "Project",
                "id": name,
                "name": name,
                "entityName": v["entity"],
                "createdAt": "2026-01-01T00:00:00Z",
                "isBenchmark": False,
                "user": None,
            }
            for name in self._projects()
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        edges = [{"node": node} for node in nodes]
        return {"models": {"pageInfo": page, "edges": edges}}

    def stream(self, run_name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take one file_stream request: lines addressed by offset, exit code at the end."""
        run = self._run(run_name)
        for name, part in (body.get("files") or {}).items():
            lines = run.lines.setdefault(name, {})
            for k, line in enumerate(part["content"]):
                lines[part["offset"] + k] = line
        if body.get("complete"):
            run.exit_code = body.get("exitcode")
        return {"exitcode": None, "limits": {}}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _handler(server: LoopbackServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            server._connections.append(self.connection)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _reply(self, answer: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            body = self._body()
            parts = self.path.strip("/").split("/")
            if parts == ["graphql"]:
                request = json.loads(body)
                self._reply(server.graphql(request["query"], request.get("variables") or {}))
            elif parts[-1] == "file_stream":
                self._reply(server.stream(parts[-2], json.loads(body)))
            else:
                self._reply({}, 404)

        def do_PUT(self) -> None:
            body = self._body()
            parts = unquote(self.path).strip("/").split("/", 2)
            server.uploads[unquote(self.path)] = body
            if parts[0] == "upload" and len(parts) == 3 and parts[1] in server.runs:
                server.runs[parts[1]].files[parts[2]] = body
            self._reply({})

        def do_GET(self) -> None:
            self._reply({}, 404)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
