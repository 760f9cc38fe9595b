#!/usr/bin/env python3
"""Writes dashboards/*.json. What is committed is what ships; this only keeps them alike.

    deploy/grafana/generate.py            writes them
    deploy/grafana/generate.py --check    fails if they are not what this would write
"""

import json
import pathlib
import sys

SOURCE = {"type": "grafana-postgresql-datasource", "uid": "${source}"}
FILTER = "$__timeFilter(time) AND tenant IN ($tenant)"
GROUP = "$__timeGroupAlias(time, $__interval)"
WIDTH = 24
INVESTIGATE = "/d/bailiwick-investigation?${source:queryparam}&var-exec_id=${__value.raw}&${__url_time_range}"


def target(sql, shape):
    return {"refId": "A", "datasource": SOURCE, "format": shape, "rawQuery": True, "editorMode": "code", "rawSql": sql}


def panel(kind, title, sql, w, h, doc="", shape="table", unit="short", custom=None, options=None, overrides=None):
    defaults = {"unit": unit} if unit else {}
    if custom:
        defaults["custom"] = custom
    return {
        "type": kind, "title": title, "description": doc, "datasource": SOURCE, "gridPos": {"w": w, "h": h},
        "fieldConfig": {"defaults": defaults, "overrides": overrides or []}, "options": options or {},
        "targets": [target(sql, shape)],
    }


def stat(title, sql, doc, unit="short", w=4):
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none"}
    return panel("stat", title, sql, w, 4, doc, unit=unit, options=options)


def series(title, value, table, metric=None, where="", unit="short", doc="", bars=False, w=12, h=8):
    named = f"{metric} AS metric, " if metric else ""
    by = "1, 2" if metric else "1"
    sql = f"SELECT {GROUP}, {named}{value} FROM {table} WHERE {FILTER}{where} GROUP BY {by} ORDER BY 1"
    line = {"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
    stacked = {"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 1, "stacking": {"mode": "normal", "group": "A"}}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, sql, w, h, doc, "time_series", unit, stacked if bars else line, options)


def bars(title, name, value, table, where="", doc="", unit="short", w=12, h=8, limit=10):
    alias = value.split(" AS ")[-1]
    sql = f"SELECT {name}, {value} FROM {table} WHERE {FILTER}{where} GROUP BY 1 ORDER BY {alias} DESC LIMIT {limit}"
    reduce = {"calcs": [], "fields": f"/^{alias}$/", "values": True}
    options = {"orientation": "horizontal", "displayMode": "gradient", "reduceOptions": reduce}
    return panel("bargauge", title, sql, w, h, doc, unit=unit, options=options)


def pie(title, name, value, table, where="", doc="", unit="short", w=8, h=8):
    alias = value.split(" AS ")[-1]
    sql = f"SELECT {name}, {value} FROM {table} WHERE {FILTER}{where} GROUP BY 1 ORDER BY {alias} DESC LIMIT 20"
    reduce = {"calcs": [], "fields": f"/^{alias}$/", "values": True}
    options = {"pieType": "donut", "legend": {"displayMode": "table", "placement": "right", "values": ["value", "percent"]},
               "reduceOptions": reduce}
    return panel("piechart", title, sql, w, h, doc, unit=unit, options=options)


def table(title, sql, doc="", w=24, h=8):
    link = {"title": "What this process is, and what it did", "url": INVESTIGATE}
    ids = {"matcher": {"id": "byRegexp", "options": "/exec_id$/"}, "properties": [{"id": "links", "value": [link]}]}
    return panel("table", title, sql, w, h, doc, unit=None, overrides=[ids], options={"showHeader": True})


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"w": WIDTH, "h": 1}, "panels": []}


def placed(panels):
    """Panels from left to right, line by line."""
    x = y = height = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        one["id"], one["gridPos"] = number, {"x": x, "y": y, **place}
        x, height = x + place["w"], max(height, place["h"])
    return panels


def of_source():
    return {"name": "source", "label": "Source", "type": "datasource", "query": SOURCE["type"], "regex": "/^Bailiwick/",
            "multi": False, "includeAll": False, "hide": 0, "refresh": 1, "options": [],
            "current": {"text": "Bailiwick", "value": "bailiwick"}}


def chosen(name, label, sql):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": sql, "definition": sql,
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "hide": 0,
            "current": {"text": ["All"], "value": ["$__all"]}, "options": []}


def typed(name, label, value=""):
    current = {"text": value, "value": value}
    return {"name": name, "label": label, "type": "textbox", "query": value, "current": current,
            "options": [{"selected": True, **current}], "hide": 0}


def distinct(column, of, where=""):
    return (f"SELECT DISTINCT {column} AS __text, {column} AS __value FROM {of} "
            f"WHERE $__timeFilter(time) AND {column} IS NOT NULL{where} ORDER BY 1")


TENANT = chosen("tenant", "Tenant", "SELECT DISTINCT tenant AS __text, tenant AS __value FROM usage WHERE $__timeFilter(time) "
                "UNION SELECT DISTINCT tenant AS __text, tenant AS __value FROM syscalls WHERE $__timeFilter(time) "
                "UNION SELECT DISTINCT tenant AS __text, tenant AS __value FROM api_access WHERE $__timeFilter(time) ORDER BY 1")

CRITICAL = {"name": "Critical alerts", "datasource": SOURCE, "enable": True, "iconColor": "red", "target": {
    "refId": "Anno", "format": "table", "rawQuery": True, "editorMode": "code",
    "rawSql": "SELECT time, output AS text, rule AS tags FROM alerts WHERE $__timeFilter(time) "
              "AND priority IN ('Emergency', 'Alert', 'Critical', 'Error', 'Warning') ORDER BY time LIMIT 200"}}


def dashboard(name, title, panels, variables=(), refresh="30s", span="now-1h", annotations=(CRITICAL,)):
    others = {"title": "Bailiwick", "type": "dashboards", "tags": ["bailiwick"], "asDropdown": True,
              "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False}
    return {
        "uid": f"bailiwick-{name}", "title": f"Bailiwick: {title}", "tags": ["bailiwick"], "timezone": "utc",
        "schemaVersion": 40, "version": 1, "editable": False, "graphTooltip": 1, "refresh": refresh,
        "time": {"from": span, "to": "now"}, "templating": {"list": [of_source(), TENANT, *variables]},
        "annotations": {"list": list(annotations)}, "links": [others], "panels": placed(panels),
    }


EVENTS = "sum((1 + repeats) * weight) AS events"
REQUESTS = "count(DISTINCT audit_id) AS requests"
BILL = "chargeback($__timeFrom(), $__timeTo())"
# An interval of `usage` is seconds long; a point of a graph is one or several.
CORES = "sum(cpu_ns) / (1000000000.0 * ($__interval_ms / 1000.0)) AS cores"
MEMORY = "sum(mem_byte_s) / ($__interval_ms / 1000.0) AS memory"
POD = "coalesce(k8s_ns_name || '/' || k8s_pod_name || '/' || container_name, cgroup_path, container_id)"


def overview():
    return dashboard("overview", "overview", [
        row("Now"),
        stat("Events", f"SELECT {EVENTS} FROM syscalls WHERE {FILTER}", "System calls and process events, with repeats and what sampling left out."),
        stat("API requests", f"SELECT {REQUESTS} FROM api_access WHERE {FILTER}", "Requests to the Kubernetes API."),
        stat("Alerts", f"SELECT count(*) AS alerts FROM alerts WHERE {FILTER}", "Findings of rules and scheduled detections."),
        stat("CPU used", f"SELECT coalesce(sum(cpu_ns), 0) / 1000000000.0 AS cpu FROM usage WHERE {FILTER}", "CPU time of all containers and cgroups.", "s"),
        stat("Lost", f"SELECT coalesce(sum(count), 0) AS lost FROM losses WHERE {FILTER}", "Events known not to be in the tables. Zero means that what is not here did not happen."),
        stat("Newest event", f"SELECT extract(epoch from now()) - extract(epoch from max(time)) AS behind FROM syscalls WHERE {FILTER}", "How far behind the clock the newest row is.", "s"),
        series("Events by tenant", EVENTS, "syscalls", "tenant"),
        series("Events by type", EVENTS, "syscalls", "evt_type", bars=True),
        row("Alerts"),
        series("Alerts by priority", "count(*) AS alerts", "alerts", "priority", bars=True),
        bars("Alerts by rule", "rule", "count(*) AS alerts", "alerts"),
        table("Newest alerts", f"SELECT time, priority, tenant, rule, output, node, mode, exec_id FROM alerts WHERE {FILTER} ORDER BY time DESC LIMIT 100"),
        row("API access"),
        series("API requests by verb", REQUESTS, "api_access", "verb", bars=True),
        table("Who reads secrets and who executes in pods", 'SELECT "user", verb, resource, subresource, namespace, '
              f"{REQUESTS}, max(time) AS latest FROM api_access WHERE {FILTER} AND (resource = 'secrets' OR subresource IN "
              "('exec', 'attach', 'portforward')) GROUP BY 1, 2, 3, 4, 5 ORDER BY requests DESC LIMIT 50", w=12),
        row("Usage and cost"),
        series("Cores in use by tenant", CORES, "usage", "tenant", unit="none", doc="CPU time of an interval over the interval's length."),
        series("Memory by tenant", MEMORY, "usage", "tenant", unit="bytes", doc="Working set, averaged over an interval."),
        table("Cost by tenant", f"SELECT tenant, cpu_core_hours, memory_gib_hours, cpu_cost, memory_cost, io_cost, total_cost, currency FROM {BILL} WHERE tenant IN ($tenant) ORDER BY total_cost DESC",
              "At the server's prices: the figures of `bailiwick report chargeback`.", h=7),
        row("Losses"),
        series("Lost by reason", "sum(count) AS lost", "losses", "reason", bars=True),
        table("Where it was lost", f"SELECT node, lane, class, reason, sum(count) AS lost, max(time) AS latest, max(detail) AS detail FROM losses WHERE {FILTER} GROUP BY 1, 2, 3, 4 ORDER BY lost DESC LIMIT 50", w=12),
    ])


def detections():
    those = " AND rule IN ($rule) AND priority IN ($priority) AND source IN ($kind)"
    count = "count(*) AS alerts"
    return dashboard("detections", "detections", [
        row("How many"),
        stat("Alerts", f"SELECT {count} FROM alerts WHERE {FILTER}{those}", "All that fit the choice above.", w=6),
        stat("Rules that found something", f"SELECT count(DISTINCT rule) AS rules FROM alerts WHERE {FILTER}{those}", "Different rules.", w=6),
        stat("Critical and above", f"SELECT {count} FROM alerts WHERE {FILTER}{those} AND priority IN ('Emergency', 'Alert', 'Critical')", "Emergency, Alert, Critical.", w=6),
        stat("Slowest alert", f"SELECT coalesce(max(extract(epoch from ingest_time) - extract(epoch from time)), 0) AS behind FROM alerts WHERE {FILTER}{those} AND mode = 'live'", "From a live finding's event until its alert was stored, at worst.", "s", w=6),
        series("By priority", count, "alerts", "priority", those, bars=True, w=24),
        pie("Priorities", "priority", count, "alerts", those),
        pie("Sources", "source", count, "alerts", those),
        pie("Tenants", "tenant", count, "alerts", those),
        row("Which"),
        bars("Rules", "rule", count, "alerts", those, limit=20),
        series("Rules over time", count, "alerts", "rule", those, bars=True),
        table("Rules and where they found something", f"SELECT rule, priority, source, count(*) AS alerts, count(DISTINCT tenant) AS tenants, count(DISTINCT node) AS nodes, count(DISTINCT container_id) AS containers, min(time) AS first, max(time) AS latest FROM alerts WHERE {FILTER}{those} GROUP BY 1, 2, 3 ORDER BY alerts DESC LIMIT 200"),
        table("Newest", f"SELECT time, priority, tenant, rule, output, source, mode, node, exec_id, audit_id, alert_id FROM alerts WHERE {FILTER}{those} ORDER BY time DESC LIMIT 200", "An exec_id leads to the process.", h=12),
    ], [
        chosen("rule", "Rule", distinct("rule", "alerts")),
        chosen("priority", "Priority", distinct("priority", "alerts")),
        chosen("kind", "Kind", distinct("source", "alerts")),
    ], annotations=())


def api_access():
    denied = " AND code IN (401, 403)"
    trail = "audit_trail(NULL, $__timeFrom(), $__timeTo())"
    return dashboard("api-access", "API access", [
        row("Requests"),
        stat("Requests", f"SELECT {REQUESTS} FROM api_access WHERE {FILTER}", "Requests to the Kubernetes API.", w=6),
        stat("Refused", f"SELECT {REQUESTS} FROM api_access WHERE {FILTER}{denied}", "Answered with 401 or 403.", w=6),
        stat("People and programs", f'SELECT count(DISTINCT "user") AS users FROM api_access WHERE {FILTER}', "Different users.", w=6),
        stat("Into containers", f"SELECT {REQUESTS} FROM api_access WHERE {FILTER} AND subresource IN ('exec', 'attach')", "exec and attach.", w=6),
        series("By verb", REQUESTS, "api_access", "verb", bars=True),
        series("By answer", REQUESTS, "api_access", "coalesce(CAST(code AS TEXT), 'none')", bars=True),
        bars("Users", '"user"', REQUESTS, "api_access"),
        bars("Resources", "resource", REQUESTS, "api_access", " AND resource IS NOT NULL"),
        row("Into containers"),
        table("Sessions", f'SELECT time, tenant, "user", namespace, pod, container, kind, code, ran_at, command, user_name, session_exec_id, exec_id FROM sessions WHERE {FILTER} ORDER BY time DESC, ran_at LIMIT 500',
              "Requests to enter a container, each with the programs that ran there because of it.", h=10),
        row("Who may do what"),
        table("Grants", f"SELECT time, tenant, who, did, object, outcome, namespace, id FROM {trail} WHERE kind = 'grant' AND tenant IN ($tenant) ORDER BY time DESC LIMIT 200",
              "Changes of roles, bindings, service accounts and tokens.", w=12),
        table("Refused", f'SELECT "user", verb, resource, subresource, namespace, code, {REQUESTS}, max(reason) AS reason, max(client_ip) AS client_ip, max(time) AS latest FROM api_access WHERE {FILTER}{denied} GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY requests DESC LIMIT 100', w=12),
        row("What matters most"),
        table("Secrets", f'SELECT "user", verb, namespace, {REQUESTS}, count(DISTINCT name) AS secrets, max(client_ip) AS client_ip, max(time) AS latest FROM api_access WHERE {FILTER} AND resource = \'secrets\' GROUP BY 1, 2, 3 ORDER BY requests DESC LIMIT 100', w=12),
        table("As somebody else, or as nobody", f'SELECT "user", impersonated_user, verb, resource, namespace, {REQUESTS}, max(time) AS latest FROM api_access WHERE {FILTER} AND (impersonated_user IS NOT NULL OR "user" = \'system:anonymous\') GROUP BY 1, 2, 3, 4, 5 ORDER BY requests DESC LIMIT 100', w=12),
        table("From where", f'SELECT "user", client_ip, user_agent, {REQUESTS}, min(time) AS first, max(time) AS latest FROM api_access WHERE {FILTER} GROUP BY 1, 2, 3 ORDER BY requests DESC LIMIT 200'),
    ])


def investigation():
    where = f"{FILTER} AND ('$exec_id' = '' OR exec_id = '$exec_id') AND ('$pod' = '' OR k8s_pod_name = '$pod')"
    return dashboard("investigation", "process and network", [
        row("The process"),
        table("Where it came from and what came of it", "SELECT tree, depth, exec_id, proc_pid, user_name, start_time, end_time, exit_code, k8s_ns_name, k8s_pod_name, node FROM process_tree('$exec_id') ORDER BY position",
              "Of the exec_id above; a click on one in any table brings it here.", h=10),
        row("What ran"),
        series("Programs started", "count(*) AS programs", "syscalls_named", "coalesce(k8s_pod_name, container_id)",
               " AND evt_type IN ('execve', 'execveat') AND evt_failed IS NOT TRUE AND ('$exec_id' = '' OR exec_id = '$exec_id') AND ('$pod' = '' OR k8s_pod_name = '$pod')", bars=True, w=24),
        table("Programs", f"SELECT time, tenant, k8s_ns_name, k8s_pod_name, container_name, user_name, proc_cmdline, proc_pname, proc_cwd, evt_res, exec_id FROM syscalls_named WHERE {where} AND evt_type IN ('execve', 'execveat') ORDER BY time DESC LIMIT 500", h=10),
        row("With whom it spoke"),
        table("Network", f"SELECT first_time, last_time, tenant, k8s_pod_name, proc_name, direction, l4proto, remote_ip, remote_port, local_port, events, connections, failed, bytes_sent, bytes_received, array_to_string(dns_names, ', ') AS dns_names, exec_id FROM network_flows WHERE last_time >= $__timeFrom() AND first_time <= $__timeTo() AND tenant IN ($tenant) AND ('$exec_id' = '' OR exec_id = '$exec_id') AND ('$pod' = '' OR k8s_pod_name = '$pod') ORDER BY last_time DESC LIMIT 500",
              "A process run, a remote end and an hour a row.", h=10),
        bars("Remote ends", "remote_ip", "sum(events) AS events", "network_flows", " AND direction = 'out' AND ('$exec_id' = '' OR exec_id = '$exec_id') AND ('$pod' = '' OR k8s_pod_name = '$pod')"),
        table("Names that were asked for", f"SELECT dns_name, count(*) AS queries, count(DISTINCT exec_id) AS processes, max(proc_name) AS by, min(time) AS first, max(time) AS latest FROM syscalls_named WHERE {where} AND evt_type = 'dns' AND dns_name IS NOT NULL GROUP BY 1 ORDER BY queries DESC LIMIT 200", w=12),
        row("What it changed"),
        table("Files", f"SELECT time, tenant, k8s_pod_name, proc_name, user_name, change, path, path_before, detail, evt_res, events, exec_id FROM file_changes WHERE {where} ORDER BY time DESC LIMIT 500", h=10),
        row("What was found"),
        table("Alerts", f"SELECT time, priority, tenant, rule, output, exec_id FROM alerts WHERE {FILTER} AND ('$exec_id' = '' OR exec_id = '$exec_id') ORDER BY time DESC LIMIT 200"),
    ], [typed("exec_id", "exec_id"), typed("pod", "Pod")], refresh="")


def tenants():
    bill = f"FROM {BILL} WHERE tenant IN ($tenant)"
    by_value = {"calcs": [], "fields": "/^total_cost$/", "values": True}
    donut = {"pieType": "donut", "legend": {"displayMode": "table", "placement": "right", "values": ["value", "percent"]},
             "reduceOptions": by_value}
    return dashboard("tenants", "tenants and chargeback", [
        row("What it costs"),
        stat("Cost", f"SELECT coalesce(sum(total_cost), 0) AS cost {bill}", "Of the chosen time and tenants, at the server's prices.", w=6),
        stat("Core hours", f"SELECT coalesce(sum(cpu_core_hours), 0) AS core_hours {bill}", "CPU time.", "none", w=6),
        stat("GiB hours", f"SELECT coalesce(sum(memory_gib_hours), 0) AS gib_hours {bill}", "Memory, integrated over time.", "none", w=6),
        stat("Observed", f"SELECT coalesce(min(coverage), 1) AS coverage {bill}", "Which part of the recorded intervals was really observed, at worst. Below 1, a bill is too low rather than too high.", "percentunit", w=6),
        panel("piechart", "Cost by tenant", f"SELECT tenant, total_cost {bill} ORDER BY total_cost DESC", 8, 9, options=donut),
        table("Bill", f"SELECT tenant, cpu_core_hours, memory_gib_hours, io_read_gib, io_write_gib, cpu_cost, memory_cost, io_cost, total_cost, currency, coverage {bill} ORDER BY total_cost DESC",
              "The figures of `bailiwick report chargeback`.", w=16, h=9),
        row("What is used"),
        series("Cores", CORES, "usage", "tenant", unit="none"),
        series("Memory", MEMORY, "usage", "tenant", unit="bytes"),
        series("Read from block devices", "sum(io_r_b) / ($__interval_ms / 1000.0) AS read", "usage", "tenant", unit="Bps"),
        series("Written to block devices", "sum(io_w_b) / ($__interval_ms / 1000.0) AS written", "usage", "tenant", unit="Bps"),
        row("What is asked of the cluster"),
        series("API requests", REQUESTS, "api_access", "tenant", bars=True),
        series("Events captured", EVENTS, "syscalls", "tenant"),
        table("Queries of Bailiwick", f"SELECT tenant, principal, endpoint, outcome, count(*) AS queries, sum(rows) AS rows, sum(bytes) AS bytes, sum(duration_us) / 1000000.0 AS seconds FROM queries WHERE {FILTER} GROUP BY 1, 2, 3, 4 ORDER BY queries DESC LIMIT 200"),
    ], refresh="1m", span="now-24h", annotations=())


def noisy():
    pod = f"{POD} AS container"
    return dashboard("noisy-neighbours", "noisy neighbours", [
        row("Who is held back"),
        series("Throttled periods", "sum(nr_throttled) / greatest(sum(nr_periods), 1.0) AS throttled", "usage", "tenant", " AND nr_periods > 0", "percentunit", "Which part of the periods in which a limit counted ended before the work did: its own limit is too low for what it does."),
        series("Time throttled", "sum(throttled_us) / ($__interval_ms * 1000.0) AS throttled", "usage", "tenant", " AND nr_periods > 0", "none", "Seconds of waiting a second."),
        table("Throttled most", f"SELECT tenant, {pod}, node, sum(nr_throttled) AS throttled, sum(nr_periods) AS periods, sum(nr_throttled) / greatest(sum(nr_periods), 1.0) AS part, sum(throttled_us) / 1000000.0 AS seconds FROM usage WHERE {FILTER} AND nr_periods > 0 GROUP BY 1, 2, 3 ORDER BY seconds DESC LIMIT 50"),
        row("Who takes much"),
        series("Cores by node", CORES, "usage", "node", unit="none"),
        series("Cores by container", CORES, "usage", POD, unit="none"),
        table("More CPU than asked for", f"SELECT tenant, {pod}, node, sum(cpu_ns) / greatest(sum(coverage_s) * 1000000000.0, 1.0) AS cores, max(cpu_request_m) / 1000.0 AS requested, sum(cpu_ns) / greatest(sum(coverage_s) * 1000000.0 * max(cpu_request_m), 1.0) AS times FROM usage WHERE {FILTER} AND cpu_request_m > 0 GROUP BY 1, 2, 3 ORDER BY times DESC LIMIT 50",
              "CPU used, as a multiple of what was requested.", w=12),
        table("More memory than asked for", f"SELECT tenant, {pod}, node, max(mem_working_set_b) AS most, max(mem_request_b) AS requested, max(mem_working_set_b) / greatest(max(mem_request_b), 1.0) AS times FROM usage WHERE {FILTER} AND mem_request_b > 0 GROUP BY 1, 2, 3 ORDER BY times DESC LIMIT 50", w=12),
        row("Who else"),
        bars("Block I/O", POD, "sum(coalesce(io_r_b, 0) + coalesce(io_w_b, 0)) AS bytes", "usage", unit="bytes"),
        bars("System calls", "coalesce(k8s_ns_name || '/' || k8s_pod_name, container_id)", EVENTS, "syscalls"),
        bars("API requests", '"user"', REQUESTS, "api_access"),
        bars("API time", '"user"', "sum(latency_us) / 1000000.0 AS seconds", "api_access", " AND latency_us IS NOT NULL AND verb <> 'watch'", "Seconds that the API server spent, watches left out.", "s"),
    ])


def health():
    behind = "max(extract(epoch from ingest_time) - extract(epoch from time)) AS behind"
    return dashboard("collectors", "collectors and losses", [
        row("Is anything missing"),
        stat("Lost", f"SELECT coalesce(sum(count), 0) AS lost FROM losses WHERE {FILTER} AND reason <> 'sampled'", "Events known not to be in the tables, but for sampling.", w=6),
        stat("Left out by sampling", f"SELECT coalesce(sum(count), 0) AS sampled FROM losses WHERE {FILTER} AND reason = 'sampled'", "Opens that only read, while the file ring filled too fast; the rows that stay have a weight.", w=6),
        stat("Nodes", f"SELECT count(DISTINCT node) AS nodes FROM syscalls WHERE {FILTER}", "Nodes whose events are here.", w=6),
        stat("Farthest behind", f"SELECT coalesce(max(behind), 0) AS behind FROM (SELECT extract(epoch from now()) - extract(epoch from max(time)) AS behind FROM usage WHERE {FILTER} GROUP BY node)", "The node whose newest row of usage is the oldest.", "s", w=6),
        series("Lost by reason", "sum(count) AS lost", "losses", "reason", bars=True),
        series("Lost by lane and class", "sum(count) AS lost", "losses", "coalesce(lane, '') || ' ' || coalesce(class, '')", bars=True),
        table("Where it was lost", f"SELECT node, lane, class, reason, sum(count) AS lost, min(interval_start) AS first, max(time) AS latest, max(detail) AS detail FROM losses WHERE {FILTER} GROUP BY 1, 2, 3, 4 ORDER BY lost DESC LIMIT 200"),
        row("Does it arrive"),
        series("From event to storage, at worst", behind, "syscalls", "node", unit="s", doc="Until ingest had received the row."),
        series("Events by node", EVENTS, "syscalls", "node"),
        series("Events by lane", EVENTS, "syscalls", "lane", bars=True),
        series("Rows by lane", "count(*) AS rows", "syscalls", "lane", bars=True, doc="Beside the events: what repeats and sampling save."),
        table("Nodes", f"SELECT node, max(cluster) AS cluster, count(*) AS rows, {EVENTS}, min(time) AS first, max(time) AS latest, extract(epoch from now()) - extract(epoch from max(time)) AS behind_s, sum(CASE WHEN evt_truncated THEN 1 ELSE 0 END) AS cut FROM syscalls WHERE {FILTER} GROUP BY 1 ORDER BY latest LIMIT 200"),
        row("Is it observed"),
        series("Observed part of usage", "sum(coverage_s) / greatest(sum(extract(epoch from time) - extract(epoch from interval_start)), 0.001) AS coverage", "usage", "node", " AND interval_start IS NOT NULL", "percentunit"),
        table("Without an owner", f"SELECT tenant, k8s_ns_name, container_id, node, count(*) AS rows, max(time) AS latest FROM syscalls_named WHERE {FILTER} AND tenant IN ('_unassigned', '_host') GROUP BY 1, 2, 3, 4 ORDER BY rows DESC LIMIT 50",
              "Rows that no entry of the tenants file claims.", w=12),
    ], annotations=())


DASHBOARDS = [overview, detections, api_access, investigation, tenants, noisy, health]


def main():
    folder = pathlib.Path(__file__).parent / "dashboards"
    stale = []
    for make in DASHBOARDS:
        one = make()
        file = folder / (one["uid"].removeprefix("bailiwick-") + ".json")
        text = json.dumps(one, indent=1, ensure_ascii=False) + "\n"
        if "--check" in sys.argv:
            if not file.exists() or file.read_text() != text:
                stale.append(file.name)
        else:
            file.write_text(text)
    if stale:
        sys.exit(f"not what generate.py writes: {', '.join(stale)}")


main()
