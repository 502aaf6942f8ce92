/** Where a container's log is: CRI's log_directory of the pod and log_path of the container. */
import { invalid } from './refuse.ts';

/** Both or nothing: without one of them there is no log. The path stays below the directory. */
export const logLocation = (directory: string, path: string): { readonly logDirectory?: string; readonly logPath?: string } => {
  if (directory === '' || path === '') return {};
  if (!directory.startsWith('/') || directory.includes('\0'))
    throw invalid('log_directory', `"${directory}" is not an absolute path`);
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || path.includes('\0'))
    throw invalid('log_path', `"${path}" is not a path below the log directory`);
  return { logDirectory: directory.replace(/\/+$/, '') || '/', logPath: parts.join('/') };
};
