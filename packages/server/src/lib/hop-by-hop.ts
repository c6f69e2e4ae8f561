/** Headers that belong to one connection (RFC 9110, 7.6.1) or are said anew for each; those that `Connection` names are besides. */
export const hopByHop: readonly string[] = [
  'connection',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];
