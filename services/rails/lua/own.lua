#!lua flags=allow-oom
-- Makes a worker the owner of a partition, whoever owned it before.
--
-- KEYS  1 offset
-- Reply its epoch
return redis.call('HINCRBY', KEYS[1], 'epoch', 1)
