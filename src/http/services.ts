import type { ApiKeys } from "../domain/access/api-keys.js";
import type { ClientSecrets } from "../domain/access/client-secrets.js";
import type { Clients } from "../domain/access/clients.js";
import type { Organizations } from "../domain/access/organizations.js";
import type { RegisteredResourceServers } from "../domain/access/resource-servers.js";
import type { Users } from "../domain/access/users.js";
import type { AuditEvents } from "../domain/audit/events.js";
import type { ConnectorCatalog } from "../domain/connections/config.js";
import type { Connections } from "../domain/connections/connections.js";
import type { Probes } from "../domain/connections/probe.js";
import type { Jobs } from "../domain/jobs/jobs.js";
import type { Syncs } from "../domain/jobs/sync.js";
import type { People } from "../domain/people/people.js";
import type { Sessions } from "../domain/people/sessions.js";
import type { Projects } from "../domain/projects/projects.js";
import type { Logs } from "../domain/runs/logs.js";
import type { Runs } from "../domain/runs/runs.js";
import type { Ledger } from "../operations/ledger.js";
import type { BrowserSettings } from "./session-auth.js";

/** What routes may call. */
export interface Services {
  readonly projects: Projects;
  readonly connections: Connections;
  readonly catalog: ConnectorCatalog;
  readonly probes: Probes;
  readonly jobs: Jobs;
  readonly syncs: Syncs;
  readonly runs: Runs;
  readonly logs: Logs;
  readonly ledger: Ledger;
  readonly auditEvents: AuditEvents;
  readonly organizations: Organizations;
  readonly users: Users;
  readonly clients: Clients;
  readonly clientSecrets: ClientSecrets;
  readonly resourceServers: RegisteredResourceServers;
  readonly apiKeys: ApiKeys;
  readonly people: People;
  readonly sessions: Sessions;
  readonly browser: BrowserSettings;
}
