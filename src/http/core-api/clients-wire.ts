import { type Static, Type } from "typebox";
import type { ProjectAccess } from "../../auth/principal.js";
import { nameScopes } from "../../auth/scopes.js";
import { type ClientView, GRANT_TYPES, type SecretView } from "../../domain/access/client-view.js";
import { MAX_KEYS } from "../../domain/access/jwks.js";
import { GRACE, TOKEN_LIFETIME } from "../../domain/access/limits.js";
import { invalid } from "../../platform/errors.js";
import { NullableTimestamp, Timestamp, Uuid } from "../schemas/common.js";

export const Name = Type.String({ minLength: 1, maxLength: 200, pattern: "\\S" });

/** Scopes in a body: checked against the list by the domain, which names each that is none. */
export const ScopesBody = Type.Array(Type.String({ maxLength: 60 }), {
  maxItems: 100,
  description:
    "`topic:read`, `topic:write`, `production:destructive`; `service` stands for the whole tenant.",
});

/** Which projects a credential reaches, in a body. */
export const ProjectsBody = {
  allProjects: Type.Optional(
    Type.Boolean({ description: "Every project of the organization, present and future." }),
  ),
  projects: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
      maxItems: 200,
      description: "Ids, slugs or numbers. Left out at creation: all that the caller reaches.",
    }),
  ),
};

/** The same in an answer. */
export const ProjectsWire = {
  allProjects: Type.Boolean(),
  projects: Type.Array(Uuid, { description: "Empty where `allProjects` is true." }),
};

export function toProjectsWire(projects: ProjectAccess) {
  return { allProjects: projects === "all", projects: projects === "all" ? [] : [...projects] };
}

const Lifetime = Type.Union(
  [Type.Integer({ minimum: TOKEN_LIFETIME.minimum, maximum: TOKEN_LIFETIME.maximum }), Type.Null()],
  {
    description: "Seconds, 60 to 2592000 (30 days), of tokens issued from now on; null: the audience's own.",
  },
);

const JwksBody = Type.Union(
  [
    Type.Object(
      {
        keys: Type.Array(Type.Object({}, { additionalProperties: true }), {
          minItems: 1,
          maxItems: MAX_KEYS,
        }),
      },
      { additionalProperties: false },
    ),
    Type.Null(),
  ],
  {
    description:
      "Public keys (RFC 7517: RSA from 2048 bits, P-256, P-384, P-521, Ed25519) of a client that authenticates by private_key_jwt; it has no secret.",
  },
);

const Settings = {
  ...ProjectsBody,
  grantTypes: Type.Optional(
    Type.Array(Type.Enum([...GRANT_TYPES]), {
      minItems: 1,
      maxItems: GRANT_TYPES.length,
      uniqueItems: true,
      description: "`password` can only be allowed by an administrator.",
    }),
  ),
  tokenLifetime: Type.Optional(Lifetime),
  expiresAt: Type.Optional(NullableTimestamp),
  jwks: Type.Optional(JwksBody),
  dpopBound: Type.Optional(
    Type.Boolean({ description: "Tokens are issued with a DPoP proof (RFC 9449) only, and bound to it." }),
  ),
};

export const CreateClientBody = Type.Object(
  { name: Name, scopes: ScopesBody, ...Settings },
  {
    additionalProperties: false,
    examples: [{ name: "nightly sync", scopes: ["job:read", "job:write"], projects: ["default"] }],
  },
);

export const UpdateClientBody = Type.Object(
  { name: Type.Optional(Name), scopes: Type.Optional(ScopesBody), ...Settings },
  { additionalProperties: false, examples: [{ scopes: ["job:read"] }] },
);

export const AddSecretBody = Type.Union([
  Type.Object(
    {
      graceSeconds: Type.Optional(
        Type.Integer({
          ...GRACE,
          description: "How long the secret before lives on; 0: it ends at once, and all tokens with it.",
        }),
      ),
    },
    { additionalProperties: false, examples: [{ graceSeconds: 3_600 }] },
  ),
  Type.Null(),
]);

const Secret = Type.Object({
  id: Uuid,
  createdAt: Timestamp,
  expiresAt: NullableTimestamp,
  lastUsedAt: NullableTimestamp,
});

const CLIENT_EXAMPLE = {
  id: "0199b3c0-0a1b-7c2d-8e3f-405162738496",
  clientId: "6f1d2c3b4a59687786950a1b2c3d4e5f",
  organizationId: "0199b3c0-0a1b-7c2d-8e3f-405162738494",
  name: "nightly sync",
  scopes: ["job:read", "job:write"],
  allProjects: false,
  projects: ["0199b3c0-0a1b-7c2d-8e3f-405162738495"],
  grantTypes: ["client_credentials"],
  tokenLifetime: null,
  expiresAt: null,
  disabled: false,
  jwks: null,
  dpopBound: false,
  secrets: [
    {
      id: "0199b3c0-0a1b-7c2d-8e3f-405162738497",
      createdAt: "2026-11-22T10:15:00.000Z",
      expiresAt: null,
      lastUsedAt: null,
    },
  ],
  lastUsedAt: null,
  createdBy: "administrator",
  createdAt: "2026-11-22T10:15:00.000Z",
  updatedAt: "2026-11-22T10:15:00.000Z",
};

const Fields = {
  id: Uuid,
  clientId: Type.String({ description: "The OAuth2 client_id." }),
  organizationId: Uuid,
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  ...ProjectsWire,
  grantTypes: Type.Array(Type.String()),
  tokenLifetime: Type.Union([Type.Integer(), Type.Null()]),
  expiresAt: NullableTimestamp,
  disabled: Type.Boolean(),
  jwks: Type.Unknown({ description: "Public keys, or null." }),
  dpopBound: Type.Boolean(),
  secrets: Type.Array(Secret, { description: "What may be known of them; they themselves are shown once." }),
  lastUsedAt: NullableTimestamp,
  createdBy: Type.String(),
  createdAt: Timestamp,
  updatedAt: Timestamp,
};

export const ClientWire = Type.Object(Fields, { $id: "Client", examples: [CLIENT_EXAMPLE] });
export type ClientWire = Static<typeof ClientWire>;

const ClientSecret = Type.Union([Type.String(), Type.Null()], {
  description: "Shown this once; null for a client with keys of its own.",
});

export const CreatedClientWire = Type.Object(
  { ...Fields, clientSecret: ClientSecret },
  {
    $id: "CreatedClient",
    examples: [{ ...CLIENT_EXAMPLE, clientSecret: "Zm9yIHRoZSBkb2N1bWVudCBvbmx5LCBub3QgYSBzZWNyZXQ" }],
  },
);

export const CreatedSecretWire = Type.Object(
  {
    ...Secret.properties,
    clientId: Type.String(),
    clientSecret: Type.String({ description: "Shown this once." }),
    secrets: Type.Array(Secret, { description: "All secrets of the client, with the ends of their grace." }),
  },
  { $id: "CreatedSecret" },
);

export function toClientWire(client: ClientView): ClientWire {
  return {
    id: client.id,
    clientId: client.clientId,
    organizationId: client.organizationId,
    name: client.name,
    scopes: nameScopes(client.scopes),
    ...toProjectsWire(client.projects),
    grantTypes: [...client.grantTypes],
    tokenLifetime: client.tokenLifetime,
    expiresAt: client.expiresAt?.toISOString() ?? null,
    disabled: client.disabledAt !== null,
    jwks: client.jwks,
    dpopBound: client.dpopBound,
    secrets: client.secrets.map(toSecretWire),
    lastUsedAt: client.lastUsedAt?.toISOString() ?? null,
    createdBy: client.createdBy,
    createdAt: client.createdAt.toISOString(),
    updatedAt: client.updatedAt.toISOString(),
  };
}

export function toSecretWire({ id, createdAt, expiresAt, lastUsedAt }: SecretView): Static<typeof Secret> {
  return {
    id,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}

/** Times of a body as the domain wants them. */
export function withDates<T extends { readonly expiresAt?: string | null }>(body: T) {
  const { expiresAt, ...rest } = body;
  if (expiresAt === undefined) return rest;
  return { ...rest, expiresAt: expiresAt === null ? null : toDate(expiresAt) };
}

/** RFC 3339 knows leap seconds and the year 0, and offsets lead out of its four digits; dates here do not. */
function toDate(text: string): Date {
  const date = new Date(text);
  if (date.getTime() >= 0 && date.getUTCFullYear() <= 9999) return date;
  const message = "must be a time from 1970 to 9999";
  throw invalid(`/expiresAt ${message}`, [{ path: "/expiresAt", message }]);
}
