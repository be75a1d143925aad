-- Keeps the cells and the offset they stand for, together.
--
-- KEYS  1 offset   2 snapshot
-- ARGV  1 epoch of the worker   2 offset   3 the cells
-- Reply {'done'}, or {'refused', stored offset, stored epoch}
local state = redis.call('HMGET', KEYS[1], 'offset', 'epoch')
if state[2] ~= ARGV[1] then return {'refused', state[1] or '', state[2] or ''} end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], 'snapshot', ARGV[2])
return {'done'}
