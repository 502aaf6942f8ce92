/** What kubectl asks first: which API versions and resources there are. Only pods are. */

const POD_VERBS = ['create', 'delete', 'get', 'list', 'patch', 'watch'];
/** Subresources and the kind that each takes. */
const SUBRESOURCES = {
  attach: 'PodAttachOptions',
  exec: 'PodExecOptions',
  portforward: 'PodPortForwardOptions',
  log: 'Pod',
  ephemeralcontainers: 'Pod',
};

/** Answers by path; others are not found (OpenAPI among them, which kubectl can do without). */
export const DISCOVERY: Readonly<Record<string, object>> = {
  '/version': { major: '1', minor: '36', gitVersion: 'v1.36.0', platform: 'linux/amd64' },
  '/api': { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
  '/api/v1': {
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [
      { name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: POD_VERBS, shortNames: ['po'] },
      ...Object.entries(SUBRESOURCES).map(([name, kind]) => ({
        name: `pods/${name}`,
        singularName: '',
        namespaced: true,
        kind,
        verbs: ['create', 'get', 'patch', 'update'],
      })),
    ],
  },
};
