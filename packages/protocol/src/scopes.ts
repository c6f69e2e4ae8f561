// What a caller may do: scopes, and the roles that are names for sets of them. A key or a token has scopes; everything else is refused.

/**
 * `sessions:any`: those of the tenant's other subjects too. `approvals:write`: answers for a person; it is in no role whose keys agents run on.
 * `installation:admin`: every tenant, and their quotas; it is in no role, the first key of an installation has it.
 */
export const scopes = [
  'sessions:read',
  'sessions:write',
  'sessions:any',
  'tenant:read',
  'authority:read',
  'authority:write',
  'approvals:write',
  'keys:read',
  'keys:write',
  'installation:admin',
] as const;
export type Scope = (typeof scopes)[number];

export const roles = {
  viewer: ['sessions:read', 'sessions:any', 'tenant:read', 'authority:read'],
  developer: ['sessions:read', 'sessions:write'],
  operator: ['sessions:read', 'sessions:write', 'sessions:any', 'tenant:read', 'authority:read', 'keys:read'],
  approver: ['authority:read', 'approvals:write'],
  admin: [
    'sessions:read',
    'sessions:write',
    'sessions:any',
    'tenant:read',
    'authority:read',
    'authority:write',
    'approvals:write',
    'keys:read',
    'keys:write',
  ],
} as const satisfies Readonly<Record<string, readonly Scope[]>>;
export type Role = keyof typeof roles;
export const roleNames: readonly Role[] = ['viewer', 'developer', 'operator', 'approver', 'admin'];
