"""The training server: a study's runs are tried there beforehand, and forked one by one."""
