/** What a path and a query of the API ask for. */

const PODS = /^\/api\/v1\/namespaces\/([^/]+)\/pods(?:\/([^/]+)(?:\/([^/]+))?)?$/;

/** A request for something of a pod: `path` without the prefix, `query` decoded. */
export type PodRequest = {
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
  readonly query: URLSearchParams;
};

/** Undefined when the path is none of pods; parts that it does not have are empty. */
export function podRequest(url: URL): PodRequest | undefined {
  const [, namespace, name = '', subresource = ''] = PODS.exec(url.pathname) ?? [];
  return namespace === undefined ? undefined : { namespace, name, subresource, query: url.searchParams };
}

/** The only selector that clients of these tests use. */
export function selectedName(query: URLSearchParams): string | undefined {
  return /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1];
}
