// The WebSocket subprotocols of remotecommand and what tells them apart.

/** Names as they stand in `Sec-WebSocket-Protocol`; the empty one means that the client offered none. */
export const SUBPROTOCOL_NAMES = Object.freeze([
  '',
  'channel.k8s.io',
  'base64.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'v5.channel.k8s.io',
] as const);

export type SubprotocolName = (typeof SUBPROTOCOL_NAMES)[number];

/** What one subprotocol does on the wire. */
export type Subprotocol = {
  readonly name: SubprotocolName;
  /** `binary`: channel byte and raw bytes in binary messages. `base64`: ASCII digit and padded base64 in text messages. */
  readonly encoding: 'binary' | 'base64';
  /** `json`: a metav1.Status on the status channel, always. `plain`: the message text alone, on failure only. */
  readonly status: 'json' | 'plain';
  /** Whether `[255, channel]` ends one channel; without it only the end of the connection ends stdin. */
  readonly hasClose: boolean;
};

const subprotocol = (
  name: SubprotocolName,
  encoding: Subprotocol['encoding'],
  status: Subprotocol['status'],
  hasClose: boolean,
): Subprotocol => Object.freeze({ name, encoding, status, hasClose });

/** Every subprotocol by its name. v4 made the status JSON, v5 added CLOSE; v2 and v3 exist on SPDY only. */
export const SUBPROTOCOLS: Readonly<Record<SubprotocolName, Subprotocol>> = Object.freeze({
  '': subprotocol('', 'binary', 'plain', false),
  'channel.k8s.io': subprotocol('channel.k8s.io', 'binary', 'plain', false),
  'base64.channel.k8s.io': subprotocol('base64.channel.k8s.io', 'base64', 'plain', false),
  'v4.channel.k8s.io': subprotocol('v4.channel.k8s.io', 'binary', 'json', false),
  'v4.base64.channel.k8s.io': subprotocol('v4.base64.channel.k8s.io', 'base64', 'json', false),
  'v5.channel.k8s.io': subprotocol('v5.channel.k8s.io', 'binary', 'json', true),
});

/** The subprotocol of that exact name, or undefined. */
export function subprotocolByName(name: string): Subprotocol | undefined {
  return Object.hasOwn(SUBPROTOCOLS, name) ? SUBPROTOCOLS[name as SubprotocolName] : undefined;
}

/**
 * Chooses as Kubernetes servers do: the client's order decides, the first name that is known wins.
 * No offer at all is the nameless protocol; an offer without a known name gives undefined (answer 403).
 */
export function chooseSubprotocol(offered: readonly string[]): Subprotocol | undefined {
  if (offered.length === 0) return SUBPROTOCOLS[''];
  for (const name of offered) {
    const found = name === '' ? undefined : subprotocolByName(name);
    if (found !== undefined) return found;
  }
  return undefined;
}
