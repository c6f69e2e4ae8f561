export {
  type ApprovalId,
  type DecisionId,
  type Id,
  type IdKind,
  type ImageId,
  type KeyId,
  type MachineId,
  type PortId,
  type RequestId,
  type SessionId,
  type SnapshotId,
  type TemplateId,
  type TenantId,
  type TurnId,
  idPrefixes,
  idSchema,
  makeId,
  parseId,
} from './ids.ts';
export {
  BulkheadError,
  type BulkheadErrorOptions,
  type ErrorCode,
  type ErrorEntry,
  type ErrorJson,
  type RetryRule,
  errorCatalogue,
  errorEntry,
} from './errors.ts';
export { type TimeLimits, defaultTimeLimits, limits, timeLimitsMaximum, timeLimitsMinimum } from './limits.ts';
export { type Size, type SizeName, defaultSize, sizeNames, sizes } from './sizes.ts';
export { type RuntimeName, runtimeNames } from './runtimes.ts';
export { type Accelerator, type Tier, accelerators, isAtLeast, strongerTier, tiers } from './tiers.ts';
export { type SessionState, canTransition, sessionStates, sessionTransitions } from './session-states.ts';
export {
  type ContextFate,
  type GuestException,
  type Language,
  type MimeBundle,
  type TracebackFrame,
  type TurnEvent,
  type TurnEventType,
  type TurnOutcome,
  type TurnRequest,
  type TurnResult,
  contextFates,
  languages,
} from './turns.ts';
export { TurnFold, foldTurn } from './turn-fold.ts';
export { type Role, type Scope, roleNames, roles, scopes } from './scopes.ts';
export {
  type HttpMethod,
  type RouteAnswer,
  type RouteBody,
  type RouteParams,
  type RouteQuery,
  type RouteSpec,
  type RouteTag,
  callerErrors,
  commonErrors,
  fillPath,
  httpMethods,
  routeErrors,
  routeTags,
  takesIfMatch,
} from './route.ts';
export { type Operation, type Routes, routeList, routes } from './routes.ts';
export {
  type Labels,
  type Problem,
  labelKeySchema,
  labelValueSchema,
  labelsSchema,
  problemSchema,
} from './schemas/common.ts';
export {
  type CommandEvent,
  type CommandResult,
  type PortResource,
  terminalControlSchema,
  terminalEndSchema,
} from './schemas/guest.ts';
export { type CheckpointResource, type SessionResource } from './schemas/sessions.ts';
export { type IssuedKey, type KeyResource, type Quotas, type TenantResource, tenantName } from './schemas/tenants.ts';
export { type TurnResource } from './schemas/turns.ts';
export {
  type AuthorityResource,
  type DecisionChangesPage,
  type DecisionExplanation,
  type DecisionReplay,
  type DecisionResource,
  type PolicyCheck,
  secretName,
} from './schemas/authority.ts';
export { type ApprovalDetail, type ApprovalResource, type ApprovalState, approvalStates } from './schemas/approvals.ts';
export { type ParameterKind, parameterKinds } from './schemas/tools/parts.ts';
export { type S3Credentials, type S3Operation, type S3Settings, s3Operations } from './schemas/tools/s3.ts';
export {
  type EgressScheme,
  type EgressSettings,
  egressMethods,
  egressSchemes,
  hostNameMaxLength,
  hostNamePattern,
} from './schemas/tools/egress.ts';
export {
  type ArgumentPlace,
  type HttpOperation,
  type HttpParameter,
  type HttpSettings,
  httpSettings,
} from './schemas/tools/http.ts';
export { type McpSettings, type PinnedTool, mcpSettings } from './schemas/tools/mcp.ts';
export { type HttpCredential } from './schemas/tools/remote.ts';
export { type SqlSettings } from './schemas/tools/sql.ts';
export { type ToolSettings, toolSettingsSchema } from './schemas/tools/settings.ts';
