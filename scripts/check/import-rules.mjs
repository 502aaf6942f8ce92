/**
 * Who may import whom. Production imports point only to the right in
 * `gRPC request -> cri -> sandbox / container -> runtime (lcr) -> stdio -> streaming -> transport`.
 */

/** Rooms of the daemon from left to right; a room does not import from what stands to its left. */
const FLOW = ['cri', '(?:sandbox|container)', 'lcr', '(?:runtime|image)', 'streaming', 'transport'];

/** Interface files, owned by the room that consumes them: whoever implements one may import it. */
const SEAMS = /^packages\/daemon\/src\/(?:runtime\/runtime|image\/image|stdio\/shim|streaming\/handler|transport\/transport)\.ts$/;

/** Tests and their fakes may look at everything; nothing else may look at them. */
export const TESTS = /\.test\.ts$|\/testing\/|\/model-[a-z-]+\.ts$|\/fake-[a-z-]+\.ts$|^test\/|^bench\/|^shim\/test\//;

/** @param {string} rooms */
const daemon = (rooms) => new RegExp(`^packages/daemon/src/${rooms}/`);

/** Names of npm packages and Node's own modules, as opposed to paths in the repository. */
const OUTSIDE = /^(?:npm|node):/;

/**
 * `from` must not import what matches `to` and not `except`. Paths are relative to the repository; packages are `npm:name`,
 * Node's modules `node:name`.
 * @typedef {{ name: string, from: RegExp, to: RegExp, except?: RegExp }} Rule
 */

/** @type {readonly Rule[]} */
export const RULES = [
  ...FLOW.flatMap((room, index) =>
    FLOW.slice(0, index).map((left) => ({
      name: `${room} stands to the right of ${left}`,
      from: daemon(room),
      to: daemon(left),
      except: SEAMS,
    })),
  ),
  { name: 'streaming knows no containers', from: daemon('streaming'), to: daemon('(?:container|sandbox|cri|lcr|runtime|image)') },
  {
    name: 'a transport knows frames only',
    from: daemon('transport'),
    to: /^packages\//,
    except: /^packages\/(?:attach-protocol\/|daemon\/src\/(?:transport|util)\/)/,
  },
  {
    name: 'stdio is fed by shims and knows nothing of who is attached',
    from: daemon('stdio'),
    to: daemon('(?:cri|container|sandbox|lcr|streaming|transport|image)'),
  },
  {
    name: 'images know nothing of containers',
    from: daemon('image'),
    to: daemon('(?:cri|container|sandbox|lcr|runtime|stdio|streaming|transport)'),
  },
  {
    name: 'the small tools import nothing of the daemon',
    from: daemon('util'),
    to: /^packages\/daemon\/src\//,
    except: daemon('util'),
  },
  {
    name: 'settings depend on small tools only',
    from: daemon('config'),
    to: /^packages\/daemon\/src\//,
    except: daemon('(?:util|config)'),
  },
  {
    name: 'metrics know no room: each room shows its own',
    from: daemon('observability'),
    to: /^packages\/daemon\/src\//,
    except: daemon('(?:util|config|observability)'),
  },
  { name: 'gRPC stays in one folder of the daemon', from: /^packages\/daemon\/src\//, to: /^npm:@grpc\//, except: /^$/ },
  { name: 'attach-protocol runs anywhere, browsers included', from: /^packages\/attach-protocol\//, to: OUTSIDE },
  {
    name: 'attach-protocol is the bottom of all packages',
    from: /^packages\/attach-protocol\//,
    to: /^packages\//,
    except: /^packages\/attach-protocol\//,
  },
  { name: 'the command line talks to the daemon by its sockets', from: /^packages\/cli\//, to: /^packages\/daemon\// },
  {
    name: 'the client library knows neither command line nor daemon',
    from: /^packages\/client\//,
    to: /^packages\/(?:cli|daemon)\//,
  },
  { name: 'the daemon does not depend on its clients', from: /^packages\/daemon\//, to: /^packages\/(?:cli|client)\// },
  { name: 'production does not import tests', from: /^packages\//, to: TESTS },
];

/** Where a rule's `from` has an exception of its own: the room that the rule is about. */
export const EXEMPT = new Map([['gRPC stays in one folder of the daemon', daemon('cri')]]);
