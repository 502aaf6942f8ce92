// The version of this program; the same in package.json, which a test compares.
export const BERTH_VERSION = '0.1.0';
