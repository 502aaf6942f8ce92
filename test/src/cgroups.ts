/** Where this machine's cgroups are. */
import { existsSync } from 'node:fs';

/** True where all controllers are cgroup v2's, at its usual place; otherwise v1 has them, and v2, where it is, stands beside them. */
export const UNIFIED = existsSync('/sys/fs/cgroup/cgroup.controllers');
